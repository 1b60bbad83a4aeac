-- publish.lua: enqueue messages, at once or delayed, and ring the doorbell.
-- KEYS  1 ready list, 2 delayed set, 3 doorbell, then, if the publisher has a name, 4 the number of its last publish, and,
--       for messages from an outbox, the number of the publish of each message's attempt, or, for the job of a tick, the
--       last tick of its entry
-- ARGV  1 due (unix seconds; 0: at once), 2 priority step, 3 number of this publish, 4 for how many seconds to refuse a
--       second publish of an attempt (0: the messages did not come from an outbox), then, for messages from an outbox,
--       the number of the publish of each message's attempt, or, for the job of a tick, the five values that refuse_tick
--       takes, then the messages in order
-- Atomic: enqueues all messages or none, except those that are a second publish of an attempt. The server's clock decides
-- whether they are delayed. Nothing is enqueued if the publisher's last publish had the same number, because the publisher
-- lost the reply and repeats the publish. Returns the positions, from 0, of the messages that are a second publish, or, if
-- the tick is not free, the one answer of refuse_tick.
local repeated = KEYS[4] and redis.call('GET', KEYS[4]) == ARGV[3]
local seconds = tonumber(ARGV[4])
local copies = seconds > 0 and #KEYS - 4 or 0
local tick = copies == 0 and KEYS[5]
local fresh, second, numbers = {unpack(ARGV, 5 + copies + (tick and 5 or 0))}, {}, {}
if copies > 0 then
  local all, known = fresh, redis.call('MGET', unpack(KEYS, 5))
  fresh = {}
  for at = 1, copies do
    local key, number = KEYS[4 + at], ARGV[4 + at]
    if numbers[key] or (known[at] and not (repeated and known[at] == number)) then
      second[#second + 1] = at - 1
    else
      numbers[key], fresh[#fresh + 1] = number, all[at]
    end
  end
end
if repeated or #fresh == 0 then return second end
if tick then
  local refusal = refuse_tick(tick, 5, now())
  if refusal then return {refusal} end
end

local due = tonumber(ARGV[1])
if due > 0 and due > now() then
  local members = {}
  for _, message in ipairs(fresh) do
    members[#members + 1] = ARGV[1]
    members[#members + 1] = ARGV[2] .. '|' .. message
  end
  redis.call('ZADD', KEYS[2], unpack(members))
else
  redis.call('LPUSH', KEYS[1], unpack(fresh))
end
for key, number in pairs(numbers) do redis.call('SET', key, number, 'EX', seconds) end
if tick then note_tick(tick, 5) end
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[3], 'PX', 10000) end
ring(KEYS[3])
return second

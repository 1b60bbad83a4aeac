-- publish_unique.lua: enqueue unique jobs, each only if it gets its lock.
-- KEYS  1 ready list, 2 delayed set, 3 doorbell, 4 the number of the publisher's last publish, 5 replaced jobs, then the
--       lock of each job, then, for jobs from an outbox, the number of the publish of each job's attempt, or, for the one
--       job of a tick, the last tick of its entry
-- ARGV  1 due (unix seconds; 0: at once), 2 priority step, 3 number of this publish,
--       4 count of jobs, 5 seconds for which to refuse a second publish of an attempt (0: the jobs did not come from an
--       outbox), 6 seconds for which to remember a replaced job, then for each job: message, job id, task, "started" or
--       "done", milliseconds for which the lock is kept at the longest, "replace" or another word, the number of the
--       publish of its attempt ('' if it did not come from an outbox), and 'durable' or '', then, for the job of a tick, the
--       five values that refuse_tick takes
-- Atomic: a job is enqueued and holds its lock, or neither. Returns for each job '' if it is enqueued, "h<id>" if it is a
-- duplicate of the job with that id, and "c" if it is a second publish of its attempt. If the publisher repeats a publish
-- because it lost the reply, nothing is enqueued, and the answer is the same. A duplicate claims its tick too; if the tick is
-- not free, nothing is enqueued, and the one answer is that of refuse_tick.
local JOB = 8
local count, seconds, time = tonumber(ARGV[4]), tonumber(ARGV[5]), now()
local repeated = redis.call("GET", KEYS[4]) == ARGV[3]
local reply, claimed, replaced, copies = {}, {}, {}, {}
local tick, tick_at = seconds == 0 and KEYS[6 + count], 7 + count * JOB
if tick and not repeated then
  local refusal = refuse_tick(tick, tick_at, time)
  if refusal then return {refusal} end
end

-- Decides about job i, and writes nothing.
local function decide(i)
  local base = 6 + (i - 1) * JOB
  local lock, id = KEYS[5 + i], ARGV[base + 2]
  local before = claimed[lock]
  local holder = before and before.id or redis.call('HGET', lock, 'id')
  local copy, number = seconds > 0 and KEYS[5 + count + i], ARGV[base + 7]
  if copy then
    local known = copies[copy] or redis.call('GET', copy)
    -- a durable job's lock says nothing: it may be that of an earlier run, whose message does not count any more
    local second = known or (holder == id and ARGV[base + 8] == '')
    if second and not (repeated and known == number) then return 'c' end
  end
  if not holder or holder == id then
    reply[i] = ''
  elseif ARGV[base + 6] ~= 'replace' or repeated or (not before and redis.call('HEXISTS', lock, 'started') == 1) then
    return 'h' .. holder
  elseif before then  -- an earlier job of this publish
    reply[before.i], reply[i] = 'h' .. id, ''
  else
    replaced[#replaced + 1] = {lock = lock, id = holder}
    reply[i] = ''
  end
  claimed[lock] = {i = i, id = id, base = base}
  if copy then copies[copy] = number end
  return reply[i]
end

for i = 1, count do
  local answer = decide(i)
  reply[i] = answer
end
if repeated then return reply end

local due = tonumber(ARGV[1])
local wait = math.max(0, due - time)
local messages, members = {}, {}
for i = 1, count do
  if reply[i] == '' then
    messages[#messages + 1] = ARGV[6 + (i - 1) * JOB + 1]
    members[#members + 1] = ARGV[1]
    members[#members + 1] = ARGV[2] .. '|' .. messages[#messages]
  end
end
if #messages == 0 then
  if tick then note_tick(tick, tick_at) end
  return reply
end

if wait > 0 then redis.call('ZADD', KEYS[2], unpack(members)) else redis.call('LPUSH', KEYS[1], unpack(messages)) end
if #replaced > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.6f', time)) end
for _, old in ipairs(replaced) do
  local was_due = tonumber(redis.call('HGET', old.lock, 'due') or 0)
  redis.call('ZADD', KEYS[5], string.format('%.6f', math.max(time, was_due) + tonumber(ARGV[6])), old.id)
end
for lock, job in pairs(claimed) do
  local base = job.base
  redis.call('DEL', lock)
  redis.call('HSET', lock, 'id', job.id, 'task', ARGV[base + 3], 'until', ARGV[base + 4],
    'at', string.format('%.6f', time), 'due', ARGV[1])
  redis.call('PEXPIRE', lock, math.ceil(tonumber(ARGV[base + 5]) + wait * 1000))
end
for copy, number in pairs(copies) do redis.call('SET', copy, number, 'EX', seconds) end
if tick then note_tick(tick, tick_at) end
redis.call("SET", KEYS[4], ARGV[3], "PX", 10000)
ring(KEYS[3])
return reply

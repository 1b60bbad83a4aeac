-- tend.lua: all that the keeper of a consumer asks for, in one request: register the consumer or renew its lease, wake it
-- if there is something in its queues, and look at the others.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, 5 started, 6 the consumer's own doorbell, then the delayed sets
--       and the ready lists that it waits for, if it waits
-- ARGV  1 consumer, 2 lease (seconds), 3 Redis client id of its keeper ('' if unknown), 4 "register", "renew" or "look",
--       5 "1" if it tells which deliveries begin (see start.lua), 6 what it has received (see shared.lua), 7 count of
--       delayed sets, 8 seconds before its deadline at which a consumer is late ('': do not look at the others)
-- Atomic: a consumer that was swept is not renewed back to life. Gives {"lost"}, or {"ok", 1 if a consumer is late,
-- consumer, its client id, ... of all if asked for}.
local consumers = KEYS[1]
if ARGV[4] ~= 'register' and not redis.call('ZSCORE', consumers, ARGV[1]) then return {'lost'} end
if ARGV[4] ~= 'look' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])  -- needs no memory, so that the rest works on a full server
  redis.call('ZADD', consumers, string.format('%.6f', now() + tonumber(ARGV[2])), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  note_received(KEYS[5], ARGV[6])
  if ARGV[4] == 'register' and ARGV[5] == '1' then redis.call('SADD', KEYS[5], '0') end
end

-- Not every producer rings, and who knew when a delayed message is due may be gone.
local function something_to_do()
  local ready_from = 7 + tonumber(ARGV[7])
  if #filled(ready_from, #KEYS, 0) > 0 then return true end
  for _, at in ipairs(filled(7, ready_from - 1, 0)) do
    if redis.call('ZCOUNT', KEYS[at], '-inf', string.format('%.6f', now())) > 0 then return true end
  end
  return false
end
if #KEYS > 6 and something_to_do() then
  go_on_when_full(consumers)
  ring(KEYS[6])
end

if ARGV[8] == '' then return {'ok', 0} end
local late = redis.call('ZCOUNT', consumers, '-inf', string.format('%.6f', now() + tonumber(ARGV[8])))
local reply = redis.call('HGETALL', KEYS[2])
table.insert(reply, 1, late > 0 and 1 or 0)
table.insert(reply, 1, 'ok')
return reply

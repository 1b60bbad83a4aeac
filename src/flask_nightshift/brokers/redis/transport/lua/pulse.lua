-- pulse.lua: renew a consumer's lease, list the other consumers and look for jobs; its renewer runs this every second.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, 5 started, 6 orders, then those of the queues that the consumer waits for
--       (see keys_of in shared.lua)
-- ARGV  1 consumer, 2 lease (seconds), 3 Redis client id of its renewer ('' if unknown), 4 first number of the last claim
--       received in full (see note_received in shared.lua), 5 "1": list the registered consumers, 6 a consumer is late this
--       many seconds before its lease expires, 7 count of queues, 8 count of priority steps
-- Atomic: cannot revive a consumer whose messages were reclaimed. Rings the doorbells of queues that have messages,
-- because not every producer rings. Returns {"lost"}, or {"ok", number of the last order for all workers, number of late
-- consumers, then pairs of a consumer and its client id}.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'lost'} end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])  -- a write that needs no memory, so that the others work on a full server
local time = now()
redis.call('ZADD', KEYS[1], string.format('%.6f', time + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
note_received(KEYS[5], ARGV[4])

local Q, S = tonumber(ARGV[7]), tonumber(ARGV[8])
if Q > 0 then
  local keys = keys_of(6, Q, S)
  local some = existing(keys.all, 1, #keys.all, {})
  for q = 1, Q do
    local ready = false
    for s = 1, S do ready = ready or some[keys.ready[s][q]] end
    if not ready and some[keys.delayed[q]] then
      local first = redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES')
      ready = first[2] and tonumber(first[2]) <= time
    end
    if ready then ring(keys.bell[q]) end
  end
end

local reply = {'ok', redis.call('GET', KEYS[6]) or '0', 0}
if ARGV[5] == '1' then
  reply[3] = redis.call('ZCOUNT', KEYS[1], '-inf', string.format('%.6f', time + tonumber(ARGV[6])))
  for _, text in ipairs(redis.call('HGETALL', KEYS[2])) do reply[#reply + 1] = text end
end
return reply

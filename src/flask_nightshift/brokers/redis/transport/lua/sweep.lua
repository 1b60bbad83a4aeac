-- sweep.lua: forget the bindings of one exchange whose last consumer has stopped.
-- KEYS  1 deadlines of exchanges (zset, ms), 2 bindings of the exchange, 3 those of its queues without x-expires
-- ARGV  1 the exchange
-- Returns 1 if its deadline has passed, else 0.
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not deadline or tonumber(deadline) > now() * 1000 then return 0 end
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('DEL', KEYS[2]) end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1

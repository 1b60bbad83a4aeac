-- read_orders.lua: what is ordered for all workers; each worker runs this once a second.
-- KEYS  1 orders, 2 paused, 3 tombstones
-- ARGV  1 number of the last order that the worker knows (-1: it has not asked yet)
-- Returns nil if that is still the last order, else {number of the last order, {pairs of a paused queue and its pause},
-- {tombstones that were placed since}}.
-- The number is 0 if there is none, also after the server has lost its data.
local number = redis.call('GET', KEYS[1]) or '0'
if number == ARGV[1] then return nil end
return {number, redis.call('HGETALL', KEYS[2]), redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf')}

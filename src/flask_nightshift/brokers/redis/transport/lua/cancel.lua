-- cancel.lua: place tombstones, under the number of one order.
-- KEYS  1 orders, 2 tombstones
-- ARGV  the members of the sorted set
-- Atomic: whoever reads what was placed after a number misses none.
number_order(KEYS[1])
local number = redis.call('GET', KEYS[1])
for _, member in ipairs(ARGV) do redis.call('ZADD', KEYS[2], number, member) end
return #ARGV

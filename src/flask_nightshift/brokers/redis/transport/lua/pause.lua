-- pause.lua: pause a queue, or resume it.
-- KEYS  1 orders, 2 paused
-- ARGV  1 queue, 2 its pause ('': resume)
-- Returns its former pause, or nil.
local former = redis.call('HGET', KEYS[2], ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
elseif former then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
number_order(KEYS[1])
return former

-- run_now.lua: move one delayed message to the head of its ready list.
-- KEYS  1 delayed set, 2 ready list, 3 doorbell
-- ARGV  1 the member of the delayed set, 2 the message in it
-- Atomic: moves the message, or does nothing if it is no longer delayed. Returns 1 or 0.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])
ring(KEYS[3])
return 1

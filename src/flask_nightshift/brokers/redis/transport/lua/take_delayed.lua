-- take_delayed.lua: delete a delayed message, and release its lock if it is a unique job's.
-- KEYS  1 delayed set, then those of locks (see release_locks in shared.lua)
-- ARGV  1 the member of the delayed set, then locks
-- Atomic: does both, or nothing if the message is no longer delayed. Returns 1 or 0.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
release_locks(2, 2)
return 1

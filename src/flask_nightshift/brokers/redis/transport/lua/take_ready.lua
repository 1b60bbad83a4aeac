-- take_ready.lua: delete a ready message, and release its lock if it is a unique job's.
-- KEYS  1 ready list, then those of locks (see release_locks in shared.lua)
-- ARGV  1 the message, then locks
-- Atomic: does both, or nothing if the message is no longer ready. Returns 1 or 0.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
release_locks(2, 2)
return 1

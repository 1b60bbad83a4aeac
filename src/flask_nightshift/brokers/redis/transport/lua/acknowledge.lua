-- acknowledge.lua: remove acknowledged messages from this consumer's lease.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started, then those of locks (see release_locks in shared.lua)
-- ARGV  1 consumer, then acknowledgements and locks (see shared.lua)
-- Atomic: removes all of them or, if another consumer took this lease over, none. Returns "ok" or "lost".
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'lost' end
go_on_when_full(KEYS[1])
release_locks(5, acknowledge(KEYS[2], KEYS[3], KEYS[4], 2))
return 'ok'

-- start.lua: note which deliveries begin, before they do.
-- KEYS  1 consumers, 2 started
-- ARGV  1 consumer, 2 what it has received (see shared.lua), then numbers
-- Atomic: all or, if this consumer's lease was taken, none. Gives "ok" or "lost". Only a delivery that began is
-- counted when its consumer is gone.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'lost' end
go_on_when_full(KEYS[1])
note_received(KEYS[2], ARGV[2])
redis.call('SADD', KEYS[2], '0', unpack(ARGV, 3))
return 'ok'

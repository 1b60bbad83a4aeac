-- start.lua: record which deliveries start, before they do.
-- KEYS  1 consumers, 2 started
-- ARGV  1 consumer, 2 first number of the last claim received in full (see note_received in shared.lua), then numbers
-- Atomic: records all or, if another consumer took this lease over, none. Returns "ok" or "lost". When a consumer is gone,
-- only its started deliveries count.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'lost' end
go_on_when_full(KEYS[1])
note_received(KEYS[2], ARGV[2])
redis.call('SADD', KEYS[2], '0', unpack(ARGV, 3))
return 'ok'

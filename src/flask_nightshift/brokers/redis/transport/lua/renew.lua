-- renew.lua: register a consumer, or renew its lease.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, 5 started
-- ARGV  1 consumer, 2 lease (seconds), 3 Redis client id of its renewer ('' if unknown), 4 "1": register, 5 "1": it
--       records which deliveries start (see start.lua), 6 first number of the last claim received in full (see
--       note_received in shared.lua)
-- Atomic: cannot revive a consumer whose messages were reclaimed. Returns "ok" or "lost".
if ARGV[4] ~= '1' and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'lost' end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])  -- a write that needs no memory, so that the others work on a full server
redis.call('ZADD', KEYS[1], string.format('%.6f', now() + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
note_received(KEYS[5], ARGV[6])
if ARGV[4] == '1' and ARGV[5] == '1' then redis.call('SADD', KEYS[5], '0') end
return 'ok'

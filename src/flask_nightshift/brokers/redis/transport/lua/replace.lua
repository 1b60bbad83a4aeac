-- replace.lua: write a leased message's next state and release the message.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started, then those of locks (see release_locks in shared.lua), then for each
--       destination its ready list, delayed set and doorbell
-- ARGV  1 consumer, 2 number of the leased message, 3 its queue, 4 due (unix seconds; 0: at once),
--       5 priority step of the new message, 6 the new message, then locks
-- Atomic: does both or, if another consumer took this lease over, neither. Returns 1 or 0; also 1 if the message was
-- released before, because the consumer lost the reply and repeats the call.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 1 end
go_on_when_full(KEYS[1])
local due = tonumber(ARGV[4])
local later = due > 0 and due > now()
local locks = tonumber(ARGV[7])
for at = 5 + (locks > 0 and locks + 1 or 0), #KEYS, 3 do
  if later then
    redis.call('ZADD', KEYS[at + 1], ARGV[4], ARGV[5] .. '|' .. ARGV[6])
  else
    redis.call('LPUSH', KEYS[at], ARGV[6])
  end
  ring(KEYS[at + 2])
end
release_locks(5, 7)
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('SREM', KEYS[4], ARGV[2])
count_leased(KEYS[3], ARGV[3], -1)
return 1

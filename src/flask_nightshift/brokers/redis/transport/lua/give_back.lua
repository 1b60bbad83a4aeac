-- give_back.lua: return leased messages to the heads of their queues.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started, 5 clients, 6 suspects, 7 late, then those of locks (see
--       release_locks in shared.lua)
-- ARGV  1 consumer, 2 "only": return these numbers, "but": return all others, 3 "1": count deliveries that started,
--       4 "1": unregister the consumer, 5 key prefix, 6 priority separator, 7 prefix of doorbells, 8 count of numbers,
--       then the numbers, acknowledgements (see acknowledge in shared.lua), which are processed first, and locks
-- Atomic as a whole. Returns how many messages went back, or -1 if another consumer took this lease over.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return -1 end
go_on_when_full(KEYS[1])
local lease, leased, started, count = KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[8])
local named = {}
for i = 1, count do named[i] = ARGV[8 + i] end
release_locks(8, acknowledge(lease, leased, started, 9 + count))
local numbers = named
if ARGV[2] == 'but' then
  local keep = {}
  for _, number in ipairs(named) do keep[number] = true end
  numbers = {}
  for _, number in ipairs(redis.call('HKEYS', lease)) do
    if not keep[number] then numbers[#numbers + 1] = number end
  end
end
local names = {prefix = ARGV[5], sep = ARGV[6], bell = ARGV[7]}
local counts = ARGV[3] == '1' and begun(started) or function() return false end
local returned = give_back(lease, leased, started, names, numbers, counts)
if ARGV[4] == '1' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
  redis.call('ZREM', KEYS[7], ARGV[1])
  redis.call('DEL', started)
end
return returned

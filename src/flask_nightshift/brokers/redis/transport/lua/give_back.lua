-- give_back.lua: return leased messages to the heads of their queues.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started, 5 clients, 6 suspects, 7 late, then those of the places to
--       which messages return (see places_of in shared.lua), and of locks (see release_locks there)
-- ARGV  1 consumer, 2 "only": return these numbers, "but": return all others, 3 "1": count deliveries that started,
--       4 "1": unregister the consumer, then the places, the count of numbers, the numbers, acknowledgements (see
--       acknowledge in shared.lua), which are processed first, and locks
-- Atomic as a whole. Returns how many messages went back, or -1 if another consumer took this lease over. The consumer stays
-- registered, and its lease expires, if a message is of no given place, which cannot be.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return -1 end
go_on_when_full(KEYS[1])
local lease, leased, started = KEYS[2], KEYS[3], KEYS[4]
local places, last, at = places_of(7, 5)
local count, named = tonumber(ARGV[at + 1]), {}
for i = 1, count do named[i] = ARGV[at + 1 + i] end
release_locks(last + 1, acknowledge(lease, leased, started, at + 2 + count))
local numbers = named
if ARGV[2] == 'but' then
  local keep = {}
  for _, number in ipairs(named) do keep[number] = true end
  numbers = {}
  for _, number in ipairs(redis.call('HKEYS', lease)) do
    if not keep[number] then numbers[#numbers + 1] = number end
  end
end
local counts = ARGV[3] == '1' and begun(started) or function() return false end
local returned, stay = give_back(lease, leased, started, places, numbers, counts)
if ARGV[4] == '1' and stay == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
  redis.call('ZREM', KEYS[7], ARGV[1])
  redis.call('DEL', started)
end
return returned

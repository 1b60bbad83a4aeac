-- sweep.lua: return the messages of consumers that are gone.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 leased
-- ARGV  1 what lease names start with, 2 key prefix, 3 priority separator, 4 what doorbells start with,
--       5 seconds for which a client must be missing, 6 how many consumers to sweep at most,
--       7 "1": go by deadlines too, then pairs of a consumer and its client id that CLIENT LIST did not show
-- Atomic: a swept consumer is off the register before anything it still sends is looked at. A consumer is gone
-- when its deadline has passed, or when its client was missing at two sightings that far apart and it has
-- named no other since. Each delivery is counted. Gives {consumer, how many returned, ...}.
local consumers, clients, suspects, leased = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local names = {prefix = ARGV[2], sep = ARGV[3], bell = ARGV[4]}
local grace, most, time = tonumber(ARGV[5]), tonumber(ARGV[6]), now()
local gone, seen = {}, {}
local function condemn(consumer)
  if not seen[consumer] and #gone < most then
    seen[consumer] = true
    gone[#gone + 1] = consumer
  end
end

go_on_when_full(consumers)
if ARGV[7] == '1' then
  local late = redis.call('ZRANGEBYSCORE', consumers, '-inf', string.format('%.6f', time), 'LIMIT', 0, most)
  for _, consumer in ipairs(late) do condemn(consumer) end
end
for at = 8, #ARGV, 2 do
  local consumer, client = ARGV[at], ARGV[at + 1]
  if redis.call('HGET', clients, consumer) == client and redis.call('ZSCORE', consumers, consumer) then
    local since = redis.call('ZSCORE', suspects, consumer)
    if not since then
      redis.call('ZADD', suspects, string.format('%.6f', time), consumer)
    elseif time - tonumber(since) >= grace then
      condemn(consumer)
    end
  end
end

local reply = {}
for _, consumer in ipairs(gone) do
  local lease = ARGV[1] .. consumer
  reply[#reply + 1] = consumer
  reply[#reply + 1] = give_back(lease, leased, names, redis.call('HKEYS', lease), true)
  redis.call('ZREM', consumers, consumer)
  redis.call('HDEL', clients, consumer)
  redis.call('ZREM', suspects, consumer)
end
return reply

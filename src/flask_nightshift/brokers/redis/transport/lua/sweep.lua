-- sweep.lua: return the messages of consumers that are gone.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, 5 leased
-- ARGV  1 what lease names start with, 2 key prefix, 3 priority separator, 4 what doorbells start with,
--       5 how many consumers to sweep at most, 6 seconds for which a client must be missing, 7 seconds before its
--       deadline at which a consumer is late, 8 seconds for which it must have been late, 9 what the names of
--       "started" begin with, then pairs of a consumer and its client id that CLIENT LIST did not show
-- Atomic: a swept consumer is off the register before anything it still sends is looked at. A consumer is gone
-- when its deadline has passed and it was seen late that long before (or else a server or a whole machine that
-- stood still would make all look dead), or when its client was missing at two sightings that far apart and it
-- has named no other since. Each delivery that began is counted. Gives {consumer, how many returned, {queue, job id,
-- task, ... of those that had begun}, ...}; what cannot be read of a message is ''.
local consumers, clients, suspects, late, leased = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local names = {prefix = ARGV[2], sep = ARGV[3], bell = ARGV[4]}
local most, time = tonumber(ARGV[5]), now()
local missing_for, late_at, late_for = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local gone, seen = {}, {}
local function condemn(consumer)
  if not seen[consumer] and #gone < most then
    seen[consumer] = true
    gone[#gone + 1] = consumer
  end
end

-- Whether the consumer was sighted so many seconds before; the first sighting is noted.
local function sighted(sightings, consumer, seconds)
  local since = redis.call('ZSCORE', sightings, consumer)
  if not since then redis.call('ZADD', sightings, string.format('%.6f', time), consumer) end
  return since and time - tonumber(since) >= seconds
end

go_on_when_full(consumers)
local near = redis.call('ZRANGEBYSCORE', consumers, '-inf', string.format('%.6f', time + late_at), 'WITHSCORES')
for at = 1, #near, 2 do
  if sighted(late, near[at], late_for) and tonumber(near[at + 1]) <= time then condemn(near[at]) end
end
for at = 10, #ARGV, 2 do
  local consumer, client = ARGV[at], ARGV[at + 1]
  local named = redis.call('HGET', clients, consumer) == client and redis.call('ZSCORE', consumers, consumer)
  if named and sighted(suspects, consumer, missing_for) then condemn(consumer) end
end

-- What is told of a message, for the log: found in its text, since Lua's JSON is slow and changes what it reads.
local LOOK = 65536
local function described(lease, number)
  local value = redis.call('HGET', lease, number)
  if not value then return nil end
  local queue, _, message = unpack_leased(value)
  local text = string.sub(message, -LOOK)
  local id = string.match(text, '"id":%s*"([^"]*)"') or string.match(text, '"correlation_id":%s*"([^"]*)"')
  return queue, id or '', string.match(text, '"task":%s*"([^"]*)"') or ''
end

local reply = {}
for _, consumer in ipairs(gone) do
  local lease, started = ARGV[1] .. consumer, ARGV[9] .. consumer
  local had_begun, told = begun(started), {}
  local function counts(number)
    if not had_begun(number) then return false end
    for _, each in ipairs({described(lease, number)}) do told[#told + 1] = each end
    return true
  end
  reply[#reply + 1] = consumer
  reply[#reply + 1] = give_back(lease, leased, started, names, redis.call('HKEYS', lease), counts)
  reply[#reply + 1] = told
  redis.call('ZREM', consumers, consumer)
  redis.call('HDEL', clients, consumer)
  redis.call('ZREM', suspects, consumer)
  redis.call('ZREM', late, consumer)
  redis.call('DEL', started)
end
return reply

-- reclaim.lua: reclaim the messages of dead consumers.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, 5 leased
-- ARGV  1 prefix of leases, 2 key prefix, 3 priority separator, 4 prefix of doorbells, 5 maximum number of consumers,
--       6 seconds for which a client must be missing, 7 a consumer is late this many seconds before its lease expires,
--       8 seconds for which it must have been late, 9 prefix of "started" sets, then pairs of a consumer and its client
--       id that CLIENT LIST did not show
-- Atomic: unregisters a dead consumer, so that whatever it still sends has no effect. A consumer is dead in two cases.
-- Either its lease expired, and it was seen late that many seconds earlier; otherwise a server or machine that stood still
-- would make all consumers look dead. Or its client was missing at two checks that far apart, and it has registered no
-- other client since. Each started delivery counts. Returns {consumer, number of returned messages, {queue, job id, task,
-- ... of those that had started}, ...}; parts of a message that cannot be read are ''.
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

-- Returns whether the consumer was first seen at least that many seconds ago; records the first sighting.
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

-- Returns queue, job id and task of a message for the log. It searches the text, because Lua's JSON is slow and changes
-- values.
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

-- reclaim.lua: find dead consumers, or reclaim the messages of one.
-- KEYS  1 consumers, 2 clients, 3 suspects, 4 late, then, to reclaim, 5 leased, 6 its lease, 7 its "started" set, and those of
--       the places to which its messages return (see places_of in shared.lua)
-- ARGV  1 the consumer to reclaim ('': find the dead ones), 2 maximum number of consumers, 3 seconds for which a client must be
--       missing, 4 a consumer is late this many seconds before its lease expires, 5 seconds for which it must have been late,
--       6 count of consumers whose client CLIENT LIST did not show, then pairs of such a consumer and its client id, then, to
--       reclaim, the places
-- Atomic: unregisters a dead consumer, so that whatever it still sends has no effect. A consumer is dead in two cases.
-- Either its lease expired, and it was seen late that many seconds earlier; otherwise a server or machine that stood still
-- would make all consumers look dead. Or its client was missing at two checks that far apart, and it has registered no
-- other client since. Each started delivery counts. Returns the dead consumers; or {number of returned messages, 1 if some
-- are left because their places were not given, {queue, job id, task, ... of those that had started}}, where parts of a
-- message that cannot be read are '', or {} if the consumer is not dead.
local consumers, clients, suspects, late, leased = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local wanted, most, time, missing = ARGV[1], tonumber(ARGV[2]), now(), tonumber(ARGV[6])
local missing_for, late_at, late_for = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local gone, seen = {}, {}
local function condemn(consumer)
  if not seen[consumer] and #gone < most and (wanted == '' or wanted == consumer) then
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
for at = 7, 5 + 2 * missing, 2 do
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

if wanted == '' or #gone == 0 then return gone end
local lease, started, told = KEYS[6], KEYS[7], {}
local places = places_of(7, 7 + 2 * missing)
for _, number in ipairs(redis.call('HKEYS', lease)) do  -- all or nothing: a consumer that keeps some would live on
  local queue, step = unpack_leased(redis.call('HGET', lease, number))
  if not places[queue .. '\0' .. step] then return {0, 1, {}} end
end
local had_begun = begun(started)
local function counts(number)
  if not had_begun(number) then return false end
  for _, each in ipairs({described(lease, number)}) do told[#told + 1] = each end
  return true
end
local returned, stay = give_back(lease, leased, started, places, redis.call('HKEYS', lease), counts)
if stay == 0 then
  redis.call('ZREM', consumers, wanted)
  redis.call('HDEL', clients, wanted)
  redis.call('ZREM', suspects, wanted)
  redis.call('ZREM', late, wanted)
  redis.call('DEL', started)
end
return {returned, math.min(stay, 1), told}

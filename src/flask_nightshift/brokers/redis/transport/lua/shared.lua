-- shared.lua: functions that are prepended to every script; not a script of its own.
--
-- Every key that a script touches is in its KEYS, because serverless servers and Dragonfly refuse others
-- (tests/contract/test_declared_keys.py).
-- A leased value is "<queue>\0<step>\0<message>". A script is atomic but does not roll back. So each script writes the
-- copy of a message first and then removes the original: an error in between duplicates a message and never loses it.

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- A full server (maxmemory, noeviction) refuses a write that needs memory, unless the script has already done a write
-- that needs none. Claiming, acknowledging and returning jobs must work on a full server, so their scripts do this one.
local function go_on_when_full(consumers)
  redis.call('ZREM', consumers, '')
end

-- Wakes one waiting consumer. The doorbell expires, so an unused one leaves nothing behind.
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
    redis.call('PEXPIRE', bell, 2000)
  end
end

-- Returns the keys of Q queues with S priority steps, which begin in KEYS after position at: their doorbells, their delayed
-- sets, and for each step their ready lists. They are {bell = one per queue, delayed = one per queue, ready = one per step
-- and queue, all = delayed and ready}, and the position of the last.
local function keys_of(at, Q, S)
  local found = {bell = {}, delayed = {}, ready = {}, all = {}}
  for q = 1, Q do
    found.bell[q], found.delayed[q] = KEYS[at + q], KEYS[at + Q + q]
    found.all[q] = found.delayed[q]
  end
  at = at + 2 * Q
  for s = 1, S do
    found.ready[s] = {}
    for q = 1, Q do
      found.ready[s][q] = KEYS[at + q]
      found.all[#found.all + 1] = KEYS[at + q]
    end
    at = at + Q
  end
  return found, at
end

-- Returns the existing keys of keys[from] to keys[to] as a set. It bisects the range, so empty queues cost very little.
local function existing(keys, from, to, found)
  if to - from >= 1000 or redis.call('EXISTS', unpack(keys, from, to)) > 0 then
    if from == to then
      found[keys[from]] = true
    else
      local middle = math.floor((from + to) / 2)
      existing(keys, from, middle, found)
      existing(keys, middle + 1, to, found)
    end
  end
  return found
end

local function pack_leased(queue, step, message)
  return queue .. '\0' .. step .. '\0' .. message
end

local function unpack_leased(value)
  local first = string.find(value, '\0', 1, true)
  local second = string.find(value, '\0', first + 1, true)
  return string.sub(value, 1, first - 1), string.sub(value, first + 1, second - 1), string.sub(value, second + 1)
end

local function count_leased(leased, queue, change)
  if change ~= 0 and redis.call('HINCRBY', leased, queue, change) <= 0 then
    redis.call('HDEL', leased, queue)
  end
end

-- Returns the message with its first member, "x-delivery-count", raised by one. It edits the text, because Lua's JSON
-- would turn [] into {} and round large numbers. A message that is no JSON object stays unchanged.
local function counted(message)
  local count, rest = string.match(message, '^%s*{%s*"x%-delivery%-count":%s*(%d+)%s*,()')
  if count then
    return '{"x-delivery-count":' .. string.format('%d', count + 1) .. ',' .. string.sub(message, rest)
  end
  rest = string.match(message, '^%s*{()%s*"')
  if rest then return '{"x-delivery-count":1,' .. string.sub(message, rest) end
  return message
end

-- Returns whether an earlier delivery of the message started and never ended.
local function unproven(message)
  return string.find(message, '^%s*{%s*"x%-delivery%-count":%s*[1-9]') ~= nil
end

-- Returns a function that says whether the delivery with a given number counts. Deliveries count if they started, or if
-- the consumer has not confirmed the claim that brought them, because one of them may have killed it. All deliveries count
-- if the consumer records no starts (its set has no member "0").
local function begun(started)
  local tells, counts, receiving = false, {}, math.huge
  for _, member in ipairs(redis.call('SMEMBERS', started)) do
    if member == '0' then tells = true end
    if string.sub(member, 1, 1) == 'r' then
      receiving = math.min(receiving, tonumber(string.sub(member, 2)))
    else
      counts[member] = true
    end
  end
  return function(number) return not tells or counts[number] or tonumber(number) >= receiving end
end

-- Records that a consumer received all messages of the claim that begins with number first ('': no claim).
local function note_received(started, first)
  if first ~= '' then redis.call('SREM', started, 'r' .. first) end
end

-- Processes the acknowledgements in ARGV from position at: the number of groups, then for each group its queue, the count
-- of numbers and the numbers. Returns the position after them. A number that is already gone is ignored, because an
-- acknowledgement is repeated when its reply was lost.
local function acknowledge(lease, leased, started, at)
  local groups = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, groups do
    local queue, count = ARGV[at], tonumber(ARGV[at + 1])
    local numbers = {}
    for i = 1, count do numbers[i] = ARGV[at + 1 + i] end
    count_leased(leased, queue, -redis.call('HDEL', lease, unpack(numbers)))
    redis.call('SREM', started, unpack(numbers))
    at = at + 2 + count
  end
  return at
end

-- Releases the lock of a unique job that is settled, if the job holds it; forgets that the job was replaced.
local function release_lock(replaced, lock, id)
  if redis.call('HGET', lock, 'id') == id then redis.call('DEL', lock) end
  redis.call('ZREM', replaced, id)
end

-- Releases the locks of settled jobs. In KEYS from position key: the replaced jobs, then a lock for each job. In ARGV from
-- position at: the number of jobs, then their ids.
local function release_locks(key, at)
  for i = 1, tonumber(ARGV[at]) do release_lock(KEYS[key], KEYS[key + i], ARGV[at + i]) end
end

-- Decides about the claim of a tick of a schedule entry, whose last tick is in key. In ARGV from position at: due, the last
-- tick that was known when due was computed ('' if due is part of a fixed series), seconds by which a tick may be early,
-- seconds in the future from which a last tick does not count, seconds for which to keep the last tick. Returns nil if the
-- tick is free, "t<last tick>" if it is taken, and "e<time>" if it is not due yet.
local function refuse_tick(key, at, time)
  local due, after, last = tonumber(ARGV[at]), ARGV[at + 1], redis.call('GET', key)
  if after ~= '' then
    if last and tonumber(last) ~= tonumber(after) then return 't' .. last end
    return nil
  end
  if due > time + tonumber(ARGV[at + 2]) then return 'e' .. string.format('%.6f', time) end
  if last and tonumber(last) >= due and tonumber(last) <= time + tonumber(ARGV[at + 3]) then return 't' .. last end
  return nil
end

local function note_tick(key, at)
  redis.call('SET', key, ARGV[at], 'EX', ARGV[at + 4])
end

-- Returns the places to which leased messages may return, as place["<queue>\0<step>"] = {ready list, doorbell}. In KEYS
-- after position key: the two keys of each place. In ARGV from position at: the count of places, then their queues and
-- steps. Also returns the positions of the last key and argument.
local function places_of(key, at)
  local count, place = tonumber(ARGV[at]), {}
  for _ = 1, count do
    place[ARGV[at + 1] .. '\0' .. ARGV[at + 2]] = {KEYS[key + 1], KEYS[key + 2]}
    key, at = key + 2, at + 2
  end
  return place, key, at
end

-- Moves leased messages back to the heads of their queues, the oldest first. counts(number) says whether the delivery
-- with that number counts. Returns how many moved, and how many stay because their place is not among places.
local function give_back(lease, leased, started, places, numbers, counts)
  table.sort(numbers, function(a, b) return tonumber(a) > tonumber(b) end)
  local returned, stay = 0, 0
  for _, number in ipairs(numbers) do
    local value = redis.call('HGET', lease, number)
    local queue, step, message = unpack_leased(value or '\0\0')
    local place = places[queue .. '\0' .. step]
    if value and not place then
      stay = stay + 1
    elseif value then
      if counts(number) then message = counted(message) end
      redis.call('RPUSH', place[1], message)
      redis.call('HDEL', lease, number)
      redis.call('SREM', started, number)
      count_leased(leased, queue, -1)
      ring(place[2])
      returned = returned + 1
    end
  end
  return returned, stay
end

-- Numbers an order for all workers. Numbers follow the server's clock (microseconds), so they ascend also after the server
-- has lost its data.
local function number_order(orders)
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', orders) or '0')
  redis.call('SET', orders, string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2])))
end

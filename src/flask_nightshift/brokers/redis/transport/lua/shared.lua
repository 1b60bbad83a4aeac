-- shared.lua: put before every script; no script by itself.
--
-- Names follow keys.py, which passes what they are made of:
--   names = {prefix = global key prefix, sep = priority separator, bell = what doorbell names start with,
--            delayed = what the names of delayed sets start with}
-- A leased value is "<queue>\0<step>\0<message>". A script is atomic but does not roll back: each writes the
-- copy first and removes the original after, so that an error in between leaves a message twice, never nowhere.

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- A full server (maxmemory, noeviction) refuses a write that needs memory, unless the script has already made
-- one that needs none. Taking, acknowledging and returning jobs must go on, so those scripts make this one.
local function go_on_when_full(consumers)
  redis.call('ZREM', consumers, '')
end

-- Wakes one waiting consumer. It expires, so that a bell nobody hears leaves nothing behind.
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then
    redis.call('RPUSH', bell, 1)
    redis.call('PEXPIRE', bell, 2000)
  end
end

local function ready_key(names, queue, step)
  if step == '0' then return names.prefix .. queue end
  return names.prefix .. queue .. names.sep .. step
end

-- The keys of the queues, as {delayed = one per queue, ready = one per step and queue, all = both}.
local function keys_of(names, queues, steps)
  local found = {delayed = {}, ready = {}, all = {}}
  for q, queue in ipairs(queues) do
    found.delayed[q] = names.delayed .. queue
    found.all[q] = found.delayed[q]
  end
  for s, step in ipairs(steps) do
    found.ready[s] = {}
    for q, queue in ipairs(queues) do
      local key = ready_key(names, queue, step)
      found.ready[s][q] = key
      found.all[#found.all + 1] = key
    end
  end
  return found
end

-- Those of keys[from] to keys[to] that exist, as a set; by halves, so that empty queues cost next to nothing.
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

-- The message with one more delivery in its first member, "x-delivery-count". Done on the text, because Lua's
-- JSON would turn [] into {} and round large numbers. What is no JSON object is left as it is.
local function counted(message)
  local count, rest = string.match(message, '^%s*{%s*"x%-delivery%-count":%s*(%d+)%s*,()')
  if count then
    return '{"x-delivery-count":' .. string.format('%d', count + 1) .. ',' .. string.sub(message, rest)
  end
  rest = string.match(message, '^%s*{()%s*"')
  if rest then return '{"x-delivery-count":1,' .. string.sub(message, rest) end
  return message
end

-- Whether an earlier delivery of the message began and never ended.
local function unproven(message)
  return string.find(message, '^%s*{%s*"x%-delivery%-count":%s*[1-9]') ~= nil
end

-- Which of a consumer's deliveries count, as a function of a number: those that began, and those of a claim that
-- it has not told to have received, because one of them may have ended it; or, of a consumer that tells nothing (it
-- has no member "0"), all.
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

-- A consumer has received all messages of the claim whose first number it tells ('': of none).
local function note_received(started, first)
  if first ~= '' then redis.call('SREM', started, 'r' .. first) end
end

-- Acknowledgements in ARGV from position at: the number of groups, then per group its queue, how many numbers,
-- the numbers. Gives the position after them. One that is already gone is fine: its reply was lost.
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

-- Returns leased messages to the heads of the queues they came from, the oldest foremost. counts(number) says
-- whether its delivery is counted.
local function give_back(lease, leased, started, names, numbers, counts)
  table.sort(numbers, function(a, b) return tonumber(a) > tonumber(b) end)
  local returned = 0
  for _, number in ipairs(numbers) do
    local value = redis.call('HGET', lease, number)
    if value then
      local queue, step, message = unpack_leased(value)
      if counts(number) then message = counted(message) end
      redis.call('RPUSH', ready_key(names, queue, step), message)
      redis.call('HDEL', lease, number)
      redis.call('SREM', started, number)
      count_leased(leased, queue, -1)
      ring(names.bell .. queue)
      returned = returned + 1
    end
  end
  return returned
end

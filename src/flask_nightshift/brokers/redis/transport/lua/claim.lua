-- claim.lua: take messages into this consumer's lease.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started
-- ARGV  1 consumer, 2 how many to take, 3 number of the first, 4 "1": take turns between queues, "0": empty
--       the first queue first, 5 up to how many ready messages due ones are promoted, 6 count of queues, 7 count of steps,
--       8 how many unproven messages to take, 9 how many of the others to note as begun (see start.lua; -1:
--       this consumer tells nothing), 10 what it has received (see shared.lua), 11 key prefix, 12 priority separator,
--       13 what doorbells start with, 14 what delayed sets start with, then the steps, the most urgent first, the
--       queues, and acknowledgements (see shared.lua)
-- Atomic: acknowledges; promotes what is due to the ready lists; moves messages from there to the lease. An
-- unproven message, one whose earlier delivery began and never ended, may kill its worker: those that are too many
-- are passed over, up to PASSED of a list.
-- Gives {"lost"} if this consumer's lease was taken, else {"ok", server time, seconds until the next delayed
-- message is due (-1: none), 1 if there is more to claim, 1 if unproven messages were passed over, then per
-- message its queue's position, below zero if it was noted as begun, and itself}.
local consumers, lease, leased, started = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PASSED = 200
if not redis.call('ZSCORE', consumers, ARGV[1]) then return {'lost'} end
go_on_when_full(consumers)

local wanted, number, turns = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local budget, Q, S = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local doubtful, to_note = tonumber(ARGV[8]), tonumber(ARGV[9])
local tells = to_note >= 0
local steps, step_at, queues = {}, {}, {}
for s = 1, S do
  steps[s] = ARGV[14 + s]
  step_at[steps[s]] = s
end
for q = 1, Q do queues[q] = ARGV[14 + S + q] end
local names = {prefix = ARGV[11], sep = ARGV[12], bell = ARGV[13], delayed = ARGV[14]}
local keys = keys_of(names, queues, steps)
local function ready(q, s) return keys.ready[s][q] end

acknowledge(lease, leased, started, 15 + S + Q)
note_received(started, ARGV[10])

local time, next_due, more = now(), -1, 0
local some = existing(keys.all, 1, #keys.all, {})

-- Promotes up to count due messages of queue q, the longest due first; gives how many it were.
local function promote(q, count)
  local delayed = keys.delayed[q]
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.6f', time), 'LIMIT', 0, count)
  for _, member in ipairs(due) do
    local bar = string.find(member, '|', 1, true)
    local s = step_at[string.sub(member, 1, bar - 1)] or 1
    redis.call('LPUSH', ready(q, s), string.sub(member, bar + 1))
    some[ready(q, s)] = true
    redis.call('ZREM', delayed, member)
  end
  return #due
end

-- Room for due messages among the ready ones of queue q: they fill those up to the budget, so that what is
-- enqueued meanwhile does not wait behind all of them, and beyond that have every other turn.
local function room(q)
  local free = budget
  for s = 1, S do
    if some[ready(q, s)] then free = free - redis.call('LLEN', ready(q, s)) end
  end
  return math.max(free, math.floor((wanted + number % 2) / 2))
end

for q = 1, Q do
  local first = some[keys.delayed[q]] and redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES') or {}
  if first[2] and tonumber(first[2]) <= time and budget > 0 then
    budget = budget - promote(q, room(q))
    first = redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES')
  end
  if first[2] then
    local wait = tonumber(first[2]) - time
    if wait <= 0 then
      more = 1  -- due, but beyond this call's budget
    elseif next_due < 0 or wait < next_due then
      next_due = wait
    end
  end
end

local reply, taken, taken_of = {'ok', string.format('%.6f', time), '', 0, 0}, 0, {}
local passed, passed_of, took_doubtful, noted = {}, {}, false, {}
local function take(q, s)
  local key = ready(q, s)
  local at = -1 - (passed[key] or 0)
  local message = redis.call('LINDEX', key, at)
  while message and doubtful == 0 and at >= -PASSED and unproven(message) do
    at = at - 1
    passed[key], passed_of[q], reply[5] = -1 - at, true, 1
    message = redis.call('LINDEX', key, at)
  end
  if not message or at < -PASSED then return false end
  local where = q
  if unproven(message) then
    doubtful, to_note, took_doubtful = doubtful - 1, to_note - 1, true
  elseif #noted < to_note then
    noted[#noted + 1], where = number + taken, -q
  end
  if redis.call('HSETNX', lease, number + taken, pack_leased(queues[q], steps[s], message)) == 0 then
    error('number ' .. (number + taken) .. ' is in use')  -- this claim was sent twice
  end
  if at == -1 then redis.call('RPOP', key) else redis.call('LREM', key, -1, message) end
  taken = taken + 1
  taken_of[q] = (taken_of[q] or 0) + 1
  reply[#reply + 1] = where
  reply[#reply + 1] = message
  return true
end

for s = 1, S do
  local open = {}
  for q = 1, Q do
    if some[ready(q, s)] then open[#open + 1] = q end
  end
  while taken < wanted and #open > 0 do
    local still = {}
    for _, q in ipairs(open) do
      local got
      repeat
        got = taken < wanted and take(q, s)
      until turns or not got
      if got then still[#still + 1] = q end
    end
    open = still
  end
end

if taken > 0 and tells then redis.call('SADD', started, '0', 'r' .. number, unpack(noted)) end
for q = 1, Q do
  count_leased(leased, queues[q], taken_of[q] or 0)
  if taken >= wanted then
    for s = 1, S do
      if some[ready(q, s)] and redis.call('LLEN', ready(q, s)) > (passed[ready(q, s)] or 0) then
        more = 1
        ring(names.bell .. queues[q])  -- this consumer is full: wake the next one
        break
      end
    end
  end
  if took_doubtful and passed_of[q] then ring(names.bell .. queues[q]) end  -- another may have one of them
end
reply[3] = string.format('%.6f', next_due)
reply[4] = more
return reply

-- claim.lua: move messages into this consumer's lease.
-- KEYS  1 consumers, 2 lease, 3 leased, 4 started, 5 paused, then those of the queues (see keys_of in shared.lua) and of
--       locks (see release_locks there)
-- ARGV  1 consumer, 2 maximum number of messages, 3 number of the first message, 4 "1": take turns between queues, "0":
--       drain the first queue first, 5 promote due messages until this many are ready, 6 count of queues, 7 count of
--       priority steps, 8 maximum number of unproven messages, 9 how many other messages to record as started (see
--       start.lua; -1: this consumer records no starts), 10 first number of the last claim received in full (see
--       note_received), then the steps, the most urgent first, the queues, acknowledgements (see acknowledge in shared.lua), and locks
-- Atomic: acknowledges messages, releases the locks of their jobs, promotes due messages to the ready lists, and moves messages from there to the lease.
-- A message is unproven if an earlier delivery of it started and never ended, so it may kill its worker. The script
-- skips unproven messages beyond the maximum, up to PASSED of them in a list.
-- It takes no more than MOST_BYTES (see domain/look_ahead.py) and one message, however many fit into the window.
-- Nothing is taken from a paused queue. Its due messages still join its ready ones.
-- Returns {"lost"} if another consumer took this lease over, else {"ok", server time, seconds until the next delayed
-- message is due (-1: none), 1 if more messages are ready, 1 if unproven messages were skipped, then for each message the
-- position of its queue (negative if the message was recorded as started) and the message}.
local consumers, lease, leased, started = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PASSED, PAUSED_EVERY, MOST_BYTES = 200, 0.1, 16 * 1024 * 1024
if not redis.call('ZSCORE', consumers, ARGV[1]) then return {'lost'} end
go_on_when_full(consumers)

local wanted, number, turns = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local budget, Q, S = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local doubtful, to_note = tonumber(ARGV[8]), tonumber(ARGV[9])
local tells = to_note >= 0
local steps, step_at, queues = {}, {}, {}
for s = 1, S do
  steps[s] = ARGV[10 + s]
  step_at[steps[s]] = s
end
for q = 1, Q do queues[q] = ARGV[10 + S + q] end
local keys, last = keys_of(5, Q, S)
local function ready(q, s) return keys.ready[s][q] end

local paused = {}
for _, queue in ipairs(redis.call('HKEYS', KEYS[5])) do paused[queue] = true end

release_locks(last + 1, acknowledge(lease, leased, started, 11 + S + Q))
note_received(started, ARGV[10])

local time, next_due, more = now(), -1, 0
local some = existing(keys.all, 1, #keys.all, {})

-- Moves up to count due messages of queue q to the ready lists, the earliest due first; returns their number.
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

-- How many due messages may join the ready ones of queue q. They fill the ready lists up to the budget; beyond that they
-- and ready messages take turns, so that newly enqueued messages do not wait behind all due ones.
local function room(q)
  local free = budget
  for s = 1, S do
    if some[ready(q, s)] then free = free - redis.call('LLEN', ready(q, s)) end
  end
  return math.max(free, math.floor((wanted + number % 2) / 2))
end

-- Promotes some due messages of a paused queue, and the next claim the others.
local function promote_paused(q)
  promote(q, budget)
  local first = redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES')
  local wait = first[2] and math.max(tonumber(first[2]) - time, PAUSED_EVERY)
  if wait and (next_due < 0 or wait < next_due) then next_due = wait end
end

local function promote_some(q)
  local first = some[keys.delayed[q]] and redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES') or {}
  if first[2] and tonumber(first[2]) <= time and budget > 0 then
    budget = budget - promote(q, room(q))
    first = redis.call('ZRANGE', keys.delayed[q], 0, 0, 'WITHSCORES')
  end
  if first[2] then
    local wait = tonumber(first[2]) - time
    if wait <= 0 then
      more = 1  -- it is due, but exceeds this call's budget
    elseif next_due < 0 or wait < next_due then
      next_due = wait
    end
  end
end

for q = 1, Q do
  if not paused[queues[q]] then
    promote_some(q)
  elseif some[keys.delayed[q]] then
    promote_paused(q)
  end
end

local reply, taken, taken_of = {'ok', string.format('%.6f', time), '', 0, 0}, 0, {}
local passed, passed_of, took_doubtful, noted, bytes = {}, {}, false, {}, 0
local function full() return taken >= wanted or bytes >= MOST_BYTES end

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
    error('number ' .. (number + taken) .. ' is in use')  -- the client sent this claim twice
  end
  if at == -1 then redis.call('RPOP', key) else redis.call('LREM', key, -1, message) end
  taken, bytes = taken + 1, bytes + #message
  taken_of[q] = (taken_of[q] or 0) + 1
  reply[#reply + 1] = where
  reply[#reply + 1] = message
  return true
end

for s = 1, S do
  local open = {}
  for q = 1, Q do
    if some[ready(q, s)] and not paused[queues[q]] then open[#open + 1] = q end
  end
  while not full() and #open > 0 do
    local still = {}
    for _, q in ipairs(open) do
      local got
      repeat
        got = not full() and take(q, s)
      until turns or not got
      if got then still[#still + 1] = q end
    end
    open = still
  end
end

if taken > 0 and tells then redis.call('SADD', started, '0', 'r' .. number, unpack(noted)) end
for q = 1, Q do
  count_leased(leased, queues[q], taken_of[q] or 0)
  if full() and not paused[queues[q]] then
    for s = 1, S do
      if some[ready(q, s)] and redis.call('LLEN', ready(q, s)) > (passed[ready(q, s)] or 0) then
        more = 1
        ring(keys.bell[q])  -- this consumer is full, so wake the next one
        break
      end
    end
  end
  if took_doubtful and passed_of[q] then ring(keys.bell[q]) end  -- another consumer may take one of them
end
reply[3] = string.format('%.6f', next_due)
reply[4] = more
return reply

-- find_delayed.lua: look for the delayed messages of some jobs, among a bounded number of messages.
-- KEYS  1 delayed set
-- ARGV  1 maximum number of messages to look at, 2 number of ranges of due times R; 0: all messages, by ZSCAN,
--       3 where to begin: a range, or 0; or the cursor of ZSCAN, 4 how many messages of that range to leave out,
--       then the first and last due time of each range, then the ids of the jobs as they stand in JSON
-- Changes nothing. Returns where to go on (two values, as ARGV 3 and 4; -1: all were looked at), then the members that
-- have one of the ids, and perhaps others, because an id may also stand elsewhere in a message.
local most, ranges = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, odd, found = {}, {}, {}
for i = 5 + 2 * ranges, #ARGV do
  if string.find(ARGV[i], '\\', 1, true) then odd[#odd + 1] = ARGV[i] else wanted[ARGV[i]] = true end
end

local names = {'"id":%s*"([^"]+)"', '"correlation_id":%s*"([^"]+)"', '"delivery_tag":%s*"([^"]+)"'}
local function fits(member)
  for _, name in ipairs(names) do
    for id in string.gmatch(member, name) do
      if wanted[id] then return true end
    end
  end
  for _, id in ipairs(odd) do
    if string.find(member, id, 1, true) then return true end
  end
  return false
end

local function look(members, step)
  for i = 1, #members, step do
    if fits(members[i]) then found[#found + 1] = members[i] end
  end
end

if ranges == 0 then
  local reply = redis.call('ZSCAN', KEYS[1], ARGV[3], 'COUNT', most)
  look(reply[2], 2)
  return {reply[1] == '0' and '-1' or reply[1], '0', found}
end
local range, skipped = tonumber(ARGV[3]), tonumber(ARGV[4])
while range < ranges do
  local first, last = ARGV[5 + 2 * range], ARGV[6 + 2 * range]
  local members = redis.call('ZRANGEBYSCORE', KEYS[1], first, last, 'LIMIT', skipped, most)
  look(members, 1)
  most = most - #members
  if most <= 0 then return {tostring(range), tostring(skipped + #members), found} end
  range, skipped = range + 1, 0
end
return {'-1', '0', found}

-- purge.lua: delete some messages of a ready list or a delayed set, and release the locks of their unique jobs.
-- KEYS  1 ready list or delayed set, 2 replaced jobs, then locks
-- ARGV  1 maximum number of messages, 2 "list" or "set", then the names of the locks, without their prefix
-- Atomic: a message is deleted together with its job's lock. It stops before a message whose lock is not in KEYS. Returns
-- {how many messages it deleted, the names of the locks that are missing in KEYS}.
local most, messages = tonumber(ARGV[1]), {}
local lock_of, missing, asked = {}, {}, {}
for at = 3, #ARGV do lock_of[ARGV[at]] = KEYS[at] end
if ARGV[2] == 'list' then
  local found = redis.call('LRANGE', KEYS[1], -most, -1)
  for at = #found, 1, -1 do messages[#messages + 1] = found[at] end
else
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
    messages[#messages + 1] = string.sub(member, string.find(member, '|', 1, true) + 1)
  end
end
local deleted, held = 0, {}
for _, message in ipairs(messages) do
  local name, holder
  if string.find(message, '"unique"', 1, true) then
    local is_json, body = pcall(cjson.decode, message)
    local found, lock, id, dead = pcall(function()
      return body.headers.nightshift.unique.key, body.headers.id, body.headers.nightshift_dead
    end)
    if is_json and found and not dead and type(lock) == 'string' and type(id) == 'string' then
      name, holder = lock, id
    end
  end
  if name and not lock_of[name] and not asked[name] then
    missing[#missing + 1], asked[name] = name, true
  end
  if #missing == 0 then
    deleted = deleted + 1
    if name then held[#held + 1] = {lock_of[name], holder} end
  end
end
if deleted > 0 then
  if ARGV[2] == 'list' then
    redis.call('LTRIM', KEYS[1], 0, -deleted - 1)
  else
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, deleted - 1)
  end
end
for _, each in ipairs(held) do release_lock(KEYS[2], each[1], each[2]) end
return {deleted, missing}

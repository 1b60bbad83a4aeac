-- purge.lua: delete some messages of a ready list or a delayed set, and release the locks of their unique jobs.
-- KEYS  1 ready list or delayed set, 2 replaced jobs
-- ARGV  1 maximum number of messages, 2 "list" or "set", 3 prefix of locks
-- Atomic: a message is deleted together with its job's lock. Returns how many messages it deleted.
local most, messages = tonumber(ARGV[1]), {}
if ARGV[2] == 'list' then
  messages = redis.call('LRANGE', KEYS[1], -most, -1)
  redis.call('LTRIM', KEYS[1], 0, -most - 1)
else
  local found = redis.call('ZPOPMIN', KEYS[1], most)
  for at = 1, #found, 2 do
    messages[#messages + 1] = string.sub(found[at], string.find(found[at], '|', 1, true) + 1)
  end
end
for _, message in ipairs(messages) do
  if string.find(message, '"unique"', 1, true) then
    local is_json, body = pcall(cjson.decode, message)
    local found, lock, id, dead = pcall(function()
      return body.headers.nightshift.unique.key, body.headers.id, body.headers.nightshift_dead
    end)
    if is_json and found and not dead and type(lock) == 'string' and type(id) == 'string' then
      release_lock(KEYS[2], ARGV[3] .. lock, id)
    end
  end
end
return #messages

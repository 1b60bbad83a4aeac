-- held.lua: find the places to which the messages of a consumer return.
-- KEYS  1 its lease
-- Returns their queues and priority steps, in pairs, each once.
local seen, places = {}, {}
for _, number in ipairs(redis.call('HKEYS', KEYS[1])) do
  local queue, step = unpack_leased(redis.call('HGET', KEYS[1], number))
  if not seen[queue .. '\0' .. step] then
    seen[queue .. '\0' .. step] = true
    places[#places + 1] = queue
    places[#places + 1] = step
  end
end
return places

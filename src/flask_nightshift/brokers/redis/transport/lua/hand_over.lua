-- hand_over.lua: move the next delayed messages unchanged to their ready lists, before they are due.
-- KEYS  1 delayed set, then the ready lists, one per priority step
-- ARGV  1 maximum number of messages, then the priority steps
-- Atomic as a whole. Returns how many messages moved. For consumers that hold delayed messages in memory.
local lists = {}
for s = 2, #ARGV do lists[ARGV[s]] = KEYS[s] end
local members = redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
for _, member in ipairs(members) do
  local bar = string.find(member, '|', 1, true)
  redis.call('LPUSH', lists[string.sub(member, 1, bar - 1)] or KEYS[2], string.sub(member, bar + 1))
  redis.call('ZREM', KEYS[1], member)
end
return #members

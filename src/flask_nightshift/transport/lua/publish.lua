-- publish.lua: enqueue messages, at once or for later, and ring.
-- KEYS  1 ready list, 2 delayed set, 3 doorbell
-- ARGV  1 due (unix seconds; 0: at once), 2 priority step, then the messages, the first one first
-- Atomic: all or none; the server's clock decides whether they are still to wait. Gives 1 if they are, else 0.
local due = tonumber(ARGV[1])
local later = 0
if due > 0 and due > now() then
  local members = {}
  for at = 3, #ARGV do
    members[#members + 1] = ARGV[1]
    members[#members + 1] = ARGV[2] .. '|' .. ARGV[at]
  end
  redis.call('ZADD', KEYS[2], unpack(members))
  later = 1
else
  redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
end
ring(KEYS[3])
return later

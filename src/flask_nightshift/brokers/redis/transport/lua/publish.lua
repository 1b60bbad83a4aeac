-- publish.lua: enqueue messages, at once or delayed, and ring the doorbell.
-- KEYS  1 ready list, 2 delayed set, 3 doorbell, and, if the publisher has a name, 4 the number of its last publish
-- ARGV  1 due (unix seconds; 0: at once), 2 priority step, 3 number of this publish, then the messages in order
-- Atomic: enqueues all or none. The server's clock decides whether they are delayed. Returns 1 if they are, else 0; -1 if
-- the publisher's last publish had the same number, because the publisher lost the reply and repeats the publish.
if KEYS[4] and redis.call('GET', KEYS[4]) == ARGV[3] then return -1 end
local due = tonumber(ARGV[1])
local later = 0
if due > 0 and due > now() then
  local members = {}
  for at = 4, #ARGV do
    members[#members + 1] = ARGV[1]
    members[#members + 1] = ARGV[2] .. '|' .. ARGV[at]
  end
  redis.call('ZADD', KEYS[2], unpack(members))
  later = 1
else
  redis.call('LPUSH', KEYS[1], unpack(ARGV, 4))
end
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[3], 'PX', 10000) end
ring(KEYS[3])
return later

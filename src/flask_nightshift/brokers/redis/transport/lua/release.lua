-- release.lua: release locks of unique jobs that are settled elsewhere, or were deleted.
-- KEYS  1 replaced jobs, then a lock for each job
-- ARGV  1 number of jobs, then their ids
-- Atomic: releases a lock only if the job holds it. Returns the number of jobs.
release_locks(1, 1)
return tonumber(ARGV[1])

-- Health of an AnomalyModel and of a MetricWatch for Argo CD (resource.customizations.health).
local function find(status, type)
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == type then
      return condition
    end
  end
  return {}
end

local function health(status, condition)
  local message = condition.message
  if message == nil or message == "" then
    message = condition.reason
  end
  return {status = status, message = message}
end

local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator to look at this spec"}
end

local ready = find(status, "Ready")
local stalled = find(status, "Stalled")
local reconciling = find(status, "Reconciling")
if stalled.status == "True" then
  return health("Degraded", stalled)
end
if ready.reason == "Suspended" then
  return health("Suspended", ready)
end
if ready.status == "True" then
  return health("Healthy", ready)
end
if reconciling.status == "True" then
  return health("Progressing", reconciling)
end
return health("Progressing", ready)

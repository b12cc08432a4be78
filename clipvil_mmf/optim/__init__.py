"""Parameter groups, optimizers and schedules of the published recipes."""

from clipvil_mmf.optim.groups import GroupsConfig, parameter_groups
from clipvil_mmf.optim.optimizers import AdamWSGD
from clipvil_mmf.optim.schedules import RecipeSchedule, ScheduleConfig

__all__ = ["AdamWSGD", "GroupsConfig", "RecipeSchedule", "ScheduleConfig", "parameter_groups"]

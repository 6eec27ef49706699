"""The rollout at work, over fakes: no Ray, no sleeping."""

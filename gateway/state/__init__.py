"""State that replicas of the gateway share: what they learned of targets, whom they ejected, which calls they hold."""

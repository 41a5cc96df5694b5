"""`vingate serve`: one supervised process per role, its settings, health, metrics, logs and traces."""

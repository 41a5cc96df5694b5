"""Who gets a record: rules and tables as data, and the explanation of every decision. Pure."""

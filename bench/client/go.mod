module vingate/bench/client

go 1.21

"""What a sweep will cost and what it can show, before it runs: ``python -m repro.plan +experiment=... [scale=...]``.

cells.py      the cells of the command and their stages
lookup.py     what the store already has of them
flops.py      parameters and arithmetic of Llama and Qwen2 architectures
memory.py     memory of one GPU, by part
workload.py   tokens of a stage
gpus.py       hours of a stage on GPUs, from published peak figures and a stated utilisation
calibrate.py  seconds of a stage on this machine, from a short measurement
detect.py     the smallest effect that the seeds can show
summary.py    the plan as data; table.py as tables; __main__.py the command
"""

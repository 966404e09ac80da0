"""Good texts to damage, and words to damage them with."""

CONFIG = """
[run]
name = "a fuzzed one"
rounds = 4
seed = 3
[data]
name = "digits"
partition = "dirichlet"
alpha = 0.3
[clients]
number = 12
per_round = 7
local_steps = 3
[model]
name = "mlp"
hidden = [32, 16]
[optimizer]
lr = 0.1
momentum = 0.9
[server]
optimizer = "adam"
betas = [0.9, 0.99]
[algorithm]
name = "fedprox"
mu = 0.01
[devices]
profile = "tiers"
[[devices.tiers]]
name = "phone"
share = 1.0
gflop_s = 1.0
up_mbit_s = 1e1
down_mbit_s = 5.0
"""
WORDS = [
    "", "", " ", "\n", "[", "]", "[[", "{", "}", '"', "'", '"""', "=", ".", ",", "#", "\\u", "\0",
    "0", "-1", "1e999", "nan", "-inf", "inf", "9" * 30, "9" * 5000, "0x", "1979-05-27", "true",
    "1.5", "[" * 2000, "run", "data", "clients.", "rounds = 5\n", "name = \"x:y\"", "../..:a",
    "name = \"/etc/passwd\"", ".:a", "os:system", "\ud7ff", "\x1b[2J", "é", "tiers", "lr = 1\n",
    "name = \"" + "a" * 300 + "\"",
]  # fmt: skip
DEVICE_FILES = (  # (key of [devices], text)
    ("profile", """name,gflop_s,up_mbit_s,down_mbit_s,latency_s,dropout
old phone,1.0,2,8,0.1,0.2
"new, dear",9.2,20,80,0.02,
"""),
    ("trace", "client,start,stop,state\n0,0,1,on\n1,0.4,3,off\n1,5,9,TRUE\n"),
    ("trace", '{"7": {"active": [0, 50, 95], "inactive": [10, 60, 120], "finish_time": 100}}'),
    ("trace", '{"0": {"messages": "2020-01-01 22:00:00 \\tscreen_off\\n'
     '2020-01-01T22:10+01:00\\twifi\\n2020-01-01 22:30:00\\tbattery_charged_on\\n'
     '2020-01-02 03:00:00\\tscreen_on"}}'),
    ("bandwidth", "client,second,up_mbit_s,down_mbit_s\n0,0,1,2\n0,1.5,3,4\n1,0,0.5,9\n"),
    ("carbon_g_per_kwh", "second,g_per_kwh\n0,100\n60,400\n"),
)  # fmt: skip
SWEEP = """
base = "exp.toml"
seeds = [0, 1]
[set]
run.rounds = 3
[[cases]]
name = "one of them"
algorithm.name = "fedavg"
[[cases]]
name = "../two"
algorithm = {name = "fedprox", mu = 0.1}
[grid]
optimizer.lr = [0.1, 0.2]
data.name = ["/etc/passwd", "..", "digits"]
"""
PLAY = """<A NAME=speech1><b>HAMLET</b></a>
<blockquote>
<A NAME=1.1.1>To be, or not to be: that is the question:</A><br>
<A NAME=1.1.2>Whether 'tis nobler in the mind to suffer</A><br>
</blockquote>
<A NAME=speech2><b>OPHELIA</b></a>
<A NAME=1.1.3>Good my lord,</A><br>
"""
SPEECHES = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"

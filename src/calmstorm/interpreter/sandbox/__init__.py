"""The side of the interpreter that runs model-written code.

This package and `capture` need the standard library alone, because they also run in the virtual environment that the
scripts use (`Interpreter(python=...)`), where calmstorm and its dependencies need not exist. They are loaded there by
path, as `calmstorm_sandbox.sandbox` and `calmstorm_sandbox.capture`, and so their modules import each other relatively.

    warm_parent.py   the warm parents: import the solver libraries once, fork one supervisor for each slot
    supervisor.py    one slot: forks a child ahead of time, sends it a script, watches limits, leaves no process behind
    script.py        inside the child: runs the script the way `python script.py` would
    jails.py         what each isolation tier does at each step of a slot's life
    warmup.py, prefault.py   what is done before there is a script: imports, rehearsed code, memory
    namespaces.py, landlock.py, seccomp.py, syscalls.py   the kernel's isolation
    accounts.py, cgroups.py, processes.py, scratch.py   users, memory limits, process trees, directories of scripts
    wire.py          frames on the sockets between the processes
"""

"""The side of the interpreter that lives with model-written code.

Everything in this package needs the standard library alone, because it also runs in the virtual environment that the
scripts use (`Interpreter(python=...)`), where calmstorm and its dependencies need not exist. It is loaded there by
path, as a package of another name, which is why its modules import each other relatively.

    server.py      the warm parents: import the solver libraries once, fork one supervisor per slot
    supervisor.py  one slot: parks a forked child, hands it a script, watches limits, reaps everything
    script.py      inside the child: runs the script the way `python script.py` would
    jails.py       what each isolation tier does at each step of that life
    warmup.py, touch.py   what is done before there is a script: imports, practice, memory
    cgroups.py     bounds the memory of all processes of a script, where a control group is delegated
    namespaces.py, landlock.py, seccomp.py, syscalls.py   the kernel's tools
    capture/       records the optimization models that scripts solve
    wire.py        frames on the sockets between the processes
"""

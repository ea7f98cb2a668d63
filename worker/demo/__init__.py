"""The demo: a whole fleet on one machine, made to suffer, and counted from outside.

story, questions   what is asked, and by whom
plan               how long things take here, what goes wrong and when
crm, crm_rabbitmq  the CRM's side of the bus: publishes questions, collects replies
fleet, worker      worker processes that live no longer than the demo
effects            what the sandbox really did, as it happens
record, counting   everything seen from outside, and the sums drawn from it
screen, lines      what the user sees, on a terminal and in a pipe
run                one demo from the first to the last line
"""

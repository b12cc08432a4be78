"""What a tuning method costs: parameters, multiply-adds, memory and time; without MMF.

`measure` looks at one network in this process; `processes` gives each method a process of its own;
`table` and `figure` show the results.
"""

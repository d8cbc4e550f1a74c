"""`metricwatch versions`: the versions of a model, looked at, compared, taken away and brought.

```
command ──► asking (database) ──► describing ──► listing, showing, differences ──► table or JSON
                              └─► gate_plot
        ──► exporting ──► archive ──► importing
```
"""

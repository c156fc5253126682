"""Apache Airflow: a DAG for each source of a Headwater pipeline that has `scheduler: airflow`.

Copy this file into the DAGs folder. HEADWATER_DAGS names a file of settings, or HEADWATER_PIPELINE the pipeline file.
"""

from headwater_airflow.dags import make_dags
from headwater_airflow.settings import from_environment

globals().update(make_dags(from_environment()))

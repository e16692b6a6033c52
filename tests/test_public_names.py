import subprocess
import sys

import nnvalue


def test_every_public_name_can_be_imported():
    for name in nnvalue.__all__:
        assert getattr(nnvalue, name) is not None
    assert set(nnvalue.__all__) == set(nnvalue._HOME)


def test_import_and_help_load_nothing_heavy():
    code = (
        "import sys, nnvalue\n"
        "from click.testing import CliRunner\nfrom nnvalue.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'nnsight', 'transformers', 'datasets', 'numpy', 'pandas', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The pod of a Colab runtime as processes of this machine, with Jupyter in its image's place."""

"""The signed update repository (TUF): made, filled, renewed and served."""

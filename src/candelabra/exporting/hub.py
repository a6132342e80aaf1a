"""Upload an exported folder to the Hugging Face Hub, or list what would be uploaded."""

from __future__ import annotations

from pathlib import Path

from candelabra.errors import ConfigError


def check_push(repo: str, *, dry_run: bool) -> None:
    """Check the repository name and the login before the export starts.

    Raises:
        ConfigError: If the Hub does not accept the name, or no token is available.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"push={repo}: {str(error).rstrip('.')}") from error
    if repo.count("/") != 1:
        raise ConfigError(f"push must be USER/NAME, got {repo!r}")
    if not dry_run and get_token() is None:
        raise ConfigError(
            f"push={repo}: nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN"
        )


def plan(folder: Path, repo: str, *, private: bool, message: str) -> list[str]:
    """Return the lines of a dry run: repository, commit and every file with its size."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in files]
    kind = "private" if private else "public"
    return [
        f"repository: {repo} ({kind} if it is new)",
        f"commit: {message}",
        f"files: {len(files)}, {_size(sum(sizes))}",
        *(
            f"  {_size(size):>10}  {file.relative_to(folder).as_posix()}"
            for file, size in zip(files, sizes, strict=True)
        ),
    ]


def push(folder: Path, repo: str, *, private: bool, message: str) -> str:
    """Upload the folder in one commit, and create the repository if it does not exist.

    Returns:
        URL of the repository.

    Raises:
        ConfigError: If the upload fails, for example without permission or network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    api = HfApi()
    try:
        made = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"push={repo}: failed; the export in {folder} is complete ({reason})"
        ) from error
    return str(made)


def _size(num_bytes: int) -> str:
    if num_bytes < 1000:
        return f"{num_bytes} B"
    return f"{num_bytes / 1e3:.1f} kB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"
